"""How the pages of evaluations look, on top of the style that all of onesheet's reports share."""

from __future__ import annotations

from crawler.report_style import ICON, STYLE

__all__ = ["ICON", "POLICY", "STYLE_SHEET"]

# Nothing on the page runs or loads, whatever a title may say; pictures are part of the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

STYLE_SHEET = (
    STYLE
    + r"""
.verdict { font-size: 1.1875rem; max-width: 50rem; }
.warning { padding: .75rem 1rem; border-left: 3px solid var(--open); border-radius: 4px; background: var(--raised);
  font-size: .9375rem; max-width: 52rem; }
.span { color: var(--soft); font-size: .8125rem; white-space: nowrap; }
.sure { font-weight: 600; } .better { color: var(--stored); } .worse { color: var(--passing); }
.lead td { font-weight: 600; } td .tip { color: var(--soft); font-size: .8125rem; display: block; font-weight: 400; }
.best { font-weight: 600; }
.chart .row { fill: var(--ink); } .chart .prior { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 3 2; }
.chart g line { stroke: currentColor; } .chart g circle { fill: currentColor; }
.k0 { color: var(--stored); } .k1 { color: var(--passing); } .k2 { color: var(--open); } .k3 { color: var(--plain); }
.legend i.k0, .legend i.k1, .legend i.k2, .legend i.k3 { background: currentColor; }
.legend i.dash { height: 0; width: 1.1rem; border-radius: 0; border-top: 2px dashed var(--soft);
  vertical-align: middle; }
.legend i.ring { border-radius: 50%; background: var(--passing); }

.grid-of { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 45%), 1fr)); gap: 1.2rem 1rem; }
.grid-of figure { margin: 0; } figcaption { display: flex; justify-content: space-between; gap: .5rem;
  font-size: .875rem; margin-bottom: .15rem; } figcaption strong { font-weight: 600; }
figcaption span { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
.small { display: block; width: 100%; height: auto; font-size: 10px; }
.small text { fill: var(--soft); font-variant-numeric: tabular-nums; } .small .axis-name { opacity: .8; }
.small .grid { stroke: var(--line); } .small .axis { stroke: var(--soft); opacity: .6; }
.small .line { fill: none; stroke: var(--stored); stroke-width: 1.8; stroke-linejoin: round; }
.small .under { fill: var(--stored); opacity: .13; } .small .chance { stroke: var(--soft); stroke-dasharray: 3 3; }
.small .mark { fill: var(--passing); stroke: var(--raised); stroke-width: 1.5; } .small .dot { fill: var(--stored); }
.whole-and-parts { display: grid; grid-template-columns: minmax(15rem, 20rem) 1fr; gap: 1.5rem 2.5rem;
  align-items: center; }
.whole-and-parts > * + * { margin-top: 0; }

.matrix { width: auto; font-size: .75rem; border-collapse: separate; border-spacing: 1px; }
.matrix th { padding: 0 .4rem 0 0; font-size: .75rem; text-align: right; }
.matrix thead th { height: 6rem; vertical-align: bottom; padding: 0; text-align: left; }
.matrix thead th span { display: block; width: 1.95rem; transform-origin: 0 100%;
  transform: translateX(1.2rem) rotate(-55deg); white-space: nowrap; }
.matrix td { width: 1.95rem; min-width: 1.95rem; height: 1.6rem; padding: 0; border: 0; border-radius: 3px;
  text-align: center; vertical-align: middle; color: var(--ink); }
.matrix td.hit { outline: 1.5px solid var(--stored); outline-offset: -1.5px; font-weight: 600; }
.matrix tr.anyhow td { border-top: 0; color: var(--soft); } .matrix tr.anyhow th { font-style: italic; }

.posters { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: 1.3rem 1.6rem; }
.poster { display: grid; grid-template-columns: 6.4rem 1fr; gap: .9rem; align-items: start; }
.poster img { width: 100%; border-radius: 5px; display: block; }
.poster h3 { font-size: .9375rem; line-height: 1.25; overflow-wrap: anywhere; }
.poster .bits { color: var(--soft); font-size: .8125rem; margin: .1rem 0 .35rem; }
.scores { display: grid; grid-template-columns: minmax(0, auto) 1fr; gap: .12rem .5rem; align-items: center;
  font-size: .8125rem; margin: 0; }
.scores dt { color: var(--soft); overflow: hidden; text-overflow: ellipsis; } .scores dd { margin: 0; }
.scores .true { color: var(--ink); font-weight: 600; }
.bar { display: block; height: 8px; border-radius: 3px; background: var(--lasting); min-width: 2px; }
.bar.true { background: var(--stored); }

.looks { display: grid; grid-template-columns: repeat(auto-fill, minmax(25rem, 1fr)); gap: 1.6rem 2.2rem; }
.looks h3 { display: flex; justify-content: space-between; margin-bottom: .4rem; }
.looks h3 span { color: var(--soft); font-weight: 400; font-size: .875rem; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr) .35rem 1fr; gap: .4rem; }
.strip .gap { border-left: 1px solid var(--line); justify-self: center; }
.look { position: relative; display: block; border-radius: 5px; overflow: hidden; }
.look img { display: block; width: 100%; } .look .over { position: absolute; inset: 0; height: 100%;
  transition: opacity .2s; }
.look:hover .over, .look:focus .over { opacity: 0; }
.look .score { position: absolute; left: .25rem; bottom: .25rem; padding: 0 .3rem; border-radius: 3px; color: #fff;
  background: rgb(14 14 14 / .72); font-size: .75rem; font-variant-numeric: tabular-nums; }
.look.false { outline: 2px solid var(--passing); outline-offset: -2px; }
@media (max-width: 60rem) { .whole-and-parts { grid-template-columns: 1fr; } }
@media (max-width: 34rem) {
  td .tip { display: none; } td:first-child { min-width: 6.5rem; }
  .looks, .posters { grid-template-columns: 1fr; } }
"""
)
