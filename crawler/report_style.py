"""How the page of a report looks: the paper, ink and one red of the endpoint's page, and slate for what is stored."""

from __future__ import annotations

ICON = (
    '<svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">'
    '<rect x="6" y="2" width="20" height="28" rx="3" fill="#b4482f"/>'
    '<rect x="10" y="7" width="12" height="2.6" rx="1.3" fill="#fff"/>'
    '<rect x="10" y="12" width="8" height="2.6" rx="1.3" fill="#fff" opacity=".75"/>'
    '<rect x="10" y="17" width="4.5" height="2.6" rx="1.3" fill="#fff" opacity=".5"/></svg>'
)

STYLE = r"""
:root {
  --paper: #f7f5f1; --raised: #fffefb; --ink: #24211d; --soft: #6b655c; --line: #ddd8ce; --track: #ebe7df;
  --stored: #3f6f8f; --lasting: #b9b1a4; --passing: #b4482f; --open: #d9a441; --plain: #8a8176;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171615; --raised: #201f1d; --ink: #ece8e1; --soft: #a39c91; --line: #35322e; --track: #2a2825;
    --stored: #6fa5c8; --lasting: #857d70; --passing: #e0775b; --open: #d8ab54; --plain: #8d857a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 66rem; padding: 0 1.25rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif;
  -webkit-font-smoothing: antialiased;
}
h1, h2, h3, p, ul, dl, dd, figure { margin: 0; }
a { color: inherit; text-underline-offset: .2em; text-decoration-color: var(--line); }
a:hover { text-decoration-color: currentcolor; }
:focus-visible { outline: 2px solid var(--passing); outline-offset: 3px; border-radius: 4px; }
header { display: flex; align-items: center; justify-content: space-between; gap: 1rem; padding: 1.4rem 0; }
.wordmark { display: flex; align-items: center; gap: .55rem; font-weight: 650; letter-spacing: -.01em; }
header time { color: var(--soft); font-size: .9375rem; }
.intro { padding: 1.5rem 0 .5rem; }
h1 {
  font: 500 clamp(1.8rem, 5vw, 2.5rem)/1.15 ui-serif, "Iowan Old Style", Palatino, Georgia, "Times New Roman", serif;
  letter-spacing: -.015em; overflow-wrap: anywhere;
}
.intro p { margin-top: .45rem; color: var(--soft); font-size: 1.0625rem; overflow-wrap: anywhere; }
h2 { font-size: .8125rem; font-weight: 600; letter-spacing: .07em; text-transform: uppercase; color: var(--soft); }
h3 { font-size: 1rem; font-weight: 600; }
section { margin-top: 2.75rem; }
section > * + * { margin-top: 1rem; }
.note { color: var(--soft); font-size: .875rem; max-width: 46rem; }

.whole { display: flex; gap: 2px; height: 22px; border-radius: 6px; overflow: hidden; background: var(--track); }
.whole i { display: block; min-width: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; padding: 0; list-style: none; color: var(--soft);
  font-size: .9375rem; }
.legend i { display: inline-block; width: .7rem; height: .7rem; margin-right: .45rem; border-radius: 3px; }
.legend strong { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
i.stored { background: var(--stored); } i.lasting { background: var(--lasting); }
i.passing { background: var(--passing); } i.open { background: var(--open); }
.sum { font-size: 1.1875rem; font-variant-numeric: tabular-nums; }
.sum + .sum { margin-top: .2rem; color: var(--soft); font-size: 1rem; }

.tiles { display: flex; flex-wrap: wrap; gap: 1px; overflow: hidden;
  border: 1px solid var(--line); border-radius: 12px; background: var(--line); }
.tiles div { flex: 1 1 10.5rem; padding: 1rem 1.15rem 1.05rem; background: var(--raised); }
.tiles dt { color: var(--soft); font-size: .875rem; }
.tiles dd { font-size: 1.5rem; font-weight: 600; letter-spacing: -.02em; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.tiles small { display: block; color: var(--soft); font-size: .8125rem; font-weight: 400; letter-spacing: 0;
  white-space: normal; }

.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th { padding: .35rem .9rem .35rem 0; color: var(--soft); font-weight: 500; font-size: .875rem;
  text-align: left; white-space: nowrap; }
td { padding: .38rem .9rem .38rem 0; border-top: 1px solid var(--line); vertical-align: baseline; }
th.n, td.n { text-align: right; white-space: nowrap; }
td.share { width: 100%; min-width: 8rem; padding-right: 0; }
td.share i { display: block; height: 10px; min-width: 2px; border-radius: 3px; }
tr.part td { border-top-color: transparent; color: var(--soft); padding-top: .1rem; padding-bottom: .1rem; }
tr.part td:first-child { padding-left: 1.4rem; }
tr.part i { opacity: .65; }
tr.total td { font-weight: 600; }
.bars td { white-space: nowrap; }
.funnel td:first-child { padding-right: 2.5rem; }
.bad { color: var(--passing); font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
  gap: 1.5rem 2.5rem; }
.columns > * > * + * { margin-top: .6rem; }
.columns td.share { min-width: 3rem; }
td:first-child code { display: block; min-width: 13rem; }
code { font: .8125rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }

.frame { padding: 1.1rem 1.1rem .7rem; border: 1px solid var(--line); border-radius: 12px;
  background: var(--raised); }
.chart { display: block; width: 100%; min-width: 38rem; height: auto; font-size: 12px; }
.chart text { fill: var(--soft); font-variant-numeric: tabular-nums; }
.chart .name { font-weight: 600; fill: var(--ink); }
.chart .value { text-anchor: end; } .chart .centre { text-anchor: middle; font-size: 11px; }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart .axis { stroke: var(--soft); stroke-width: 1;
  opacity: .6; }
.chart .pause { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 4; opacity: .6; }
.chart .stored { fill: var(--stored); } .chart .lasting { fill: var(--lasting); }
.chart .passing { fill: var(--passing); } .chart .plain { fill: var(--plain); }
.chart .hover { fill: transparent; } .chart .hover:hover { fill: var(--ink); opacity: .08; }

details { border-top: 1px solid var(--line); }
details:last-of-type { border-bottom: 1px solid var(--line); }
summary { display: flex; align-items: baseline; gap: .7rem; padding: .6rem 0; cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary::before { content: "\203a"; width: .7rem; color: var(--soft); font-weight: 600; transition: transform .15s; }
details[open] > summary::before { transform: rotate(90deg); }
summary .count { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
.examples { padding: 0 0 .9rem 1.4rem; list-style: none; display: grid; gap: .55rem; font-size: .9375rem; }
.examples .id { font-weight: 600; margin-right: .6rem; }
.examples li { overflow-wrap: anywhere; }
.examples code { display: block; color: var(--soft); }
footer { margin-top: 3.5rem; padding: 1.1rem 0 1.8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .875rem; }
@media (max-width: 44rem) {
  td.share { min-width: 4rem; }
  .funnel td:first-child { padding-right: .9rem; }
  .sum { font-size: 1.0625rem; }
  header { flex-wrap: wrap; }
}
@media print { body { max-width: none; } details > * { display: block; } section { break-inside: avoid; } }
"""
