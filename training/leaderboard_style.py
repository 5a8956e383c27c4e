"""How the page of a search looks beyond `crawler.report_style`, and the little that it does."""

from __future__ import annotations

PAGE_STYLE = r"""
:root { --worst: #d3cdc1; --best: #24506e; --leader: #b4482f; }
@media (prefers-color-scheme: dark) { :root { --worst: #45423d; --best: #9ccbea; --leader: #ec7d5f; } }
.chart path { fill: none; }
.chart .line, .chart .point { --tone: color-mix(in oklab, var(--best) calc(var(--s) * 100%), var(--worst)); }
.chart .line { stroke: var(--tone); stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; opacity: .9; }
.chart .near { stroke: transparent; stroke-width: 9; pointer-events: stroke; }
.chart .point { fill: var(--tone); stroke: var(--raised); stroke-width: 1; }
.chart .pareto { stroke: var(--ink); stroke-width: 1.4; }
.chart .stopped { opacity: .5; } .chart .line.stopped { stroke-width: 1.1; }
.chart .running { stroke-dasharray: 5 3; } .chart .line.failed { stroke-dasharray: 2 4; opacity: .5; }
.chart .line.leader { stroke: var(--leader); stroke-width: 2.8; opacity: 1; }
.chart .point.leader { fill: var(--leader); opacity: 1; }
.chart .lead { fill: var(--leader); font-weight: 600; }
.chart .front { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3; }
.chart .prior { stroke: var(--soft); stroke-dasharray: 5 4; }
.chart .end { text-anchor: end; }
.chart .tick, .chart .end { paint-order: stroke; stroke: var(--raised); stroke-width: 3px; stroke-linejoin: round; }
.chart .tick { font-size: 11px; pointer-events: none; }
.chart .name { font-size: 12px; }
.chart g:hover .line, .chart .shown .line { stroke: var(--ink); stroke-width: 3; opacity: 1; }
.chart g:hover .point, .chart .shown .point { stroke: var(--ink); stroke-width: 2; opacity: 1; }
.chart .copy { pointer-events: none; }
.looking .chart g[data-trial] .line, .looking .chart g[data-trial] .point { opacity: .18; }
.looking .chart g.shown .line, .looking .chart g.shown .point { opacity: 1; }
.legend i.ramp { width: 7rem; margin: 0 .5rem;
  background: linear-gradient(90deg in oklab, var(--worst), var(--best)); }
.legend svg { width: 14px; height: 14px; margin-right: .4rem; vertical-align: -2px; fill: var(--plain); }
.legend i.leader { background: var(--leader); }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 8.5rem), 1fr));
  gap: .7rem 1.5rem; }
.settings div.wide { grid-column: 1 / -1; }
.settings dt { color: var(--soft); font-size: .875rem; }
.settings dd { font-weight: 600; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.command { display: block; padding: .8rem 1rem; border-radius: 8px; background: var(--track); }
.all { max-height: 44rem; overflow: auto; }
.all thead th { position: sticky; top: 0; background: var(--paper); box-shadow: 0 1px var(--line); }
.all td { white-space: nowrap; }
.all th button { all: unset; cursor: pointer; } .all th button:focus-visible { outline: 2px solid var(--leader); }
.all th[aria-sort] button { color: var(--ink); font-weight: 600; }
.all th[aria-sort=ascending] button::after { content: " \2191"; }
.all th[aria-sort=descending] button::after { content: " \2193"; }
.all tr.leader td { font-weight: 600; } .all tr.stopped td, .all tr.failed td { color: var(--soft); }
.all tbody tr.shown td, .all tbody tr:hover td { background: var(--track); }
.all td.why { color: var(--leader); }
#told { position: fixed; inset: auto 0 0 0; z-index: 2; padding: .6rem 1.25rem; background: var(--raised);
  border-top: 1px solid var(--line); font-size: .875rem; font-variant-numeric: tabular-nums; }
#told div { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; max-width: 63.5rem; margin: 0 auto; }
#told b { font-weight: 500; color: var(--soft); margin-right: .35rem; }
#told[hidden] { display: none; }
@media (hover: none) { .chart g:hover .line:not(.leader) { stroke: var(--tone); } }
@media print { .all { max-height: none; overflow: visible; } }
"""

# Points out a trial in every chart and in the table, keeps the one that was clicked, and sorts the table.
SCRIPT = r"""
'use strict';
const table = document.querySelector('.all table'), told = document.querySelector('#told');
const heads = [...table.tHead.rows[0].cells];
let kept = null;
for (const title of document.querySelectorAll('g[data-trial] title')) title.remove();
function show(number) {
  for (const old of document.querySelectorAll('.copy')) old.remove();
  for (const old of document.querySelectorAll('.shown')) old.classList.remove('shown');
  document.body.classList.toggle('looking', number !== null);
  told.hidden = number === null;
  if (number === null) return;
  for (const one of document.querySelectorAll(`[data-trial="${number}"]`)) {
    one.classList.add('shown');
    if (one.tagName !== 'g') continue;
    const copy = one.cloneNode(true);
    copy.classList.add('copy');
    one.parentNode.append(copy);
  }
  const line = document.createElement('div');
  const cells = table.querySelector(`tr[data-trial="${number}"]`).cells;
  heads.forEach((head, at) => {
    const one = document.createElement('span'), name = document.createElement('b');
    name.textContent = head.textContent;
    one.append(name, cells[at].textContent);
    line.append(one);
  });
  told.replaceChildren(line);
}
const of = event => event.target.closest?.('[data-trial]:not(.copy)')?.dataset.trial ?? null;
document.addEventListener('pointerover', event => { if (event.pointerType === 'mouse') show(of(event) ?? kept); });
document.addEventListener('click', event => {
  if (event.target.closest('button, #told')) return;
  const number = of(event);
  kept = number === kept ? null : number;
  show(kept);
});
document.addEventListener('keydown', event => { if (event.key === 'Escape') show(kept = null); });
heads.forEach((head, at) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of heads) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === '' || b === '') return (a === '') - (b === '');
      const by = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return down ? -by : by;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  });
});
"""
