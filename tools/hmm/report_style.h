// The report's style sheet. Colours are from the Okabe-Ito set, darkened or lightened for contrast
// of at least 4.5 against their ground; paper gets the light ones on white.
#pragma once

#include <string_view>

namespace offshoot {

inline constexpr std::string_view kReportStyle = R"css(
:root { color-scheme: light dark;
  --ground: #fdfdfb; --ink: #1b1e22; --muted: #5d646c; --rule: #d5d8d6; --grid: #e9ebe8;
  --soft: #f4f5f2; --band: #f7f3e6; --band-ink: #776225;
  --blue: #0a62a0; --orange: #b84a00; --green: #00765a; --plum: #95487c;
  --on-half: var(--ink); }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171a; --ink: #e7e6e1; --muted: #9ba3ab; --rule: #3a4047; --grid: #252a2f;
  --soft: #1b1f23; --band: #24231b; --band-ink: #b9a874;
  --blue: #6bb4ec; --orange: #f5935a; --green: #5cc9a3; --plum: #d79ac3;
  --on-half: var(--ground); } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1104px; margin: 0 auto; padding: 56px 32px 72px; }
h1, h2, h3 { font-family: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif Pro",
  Georgia, "Liberation Serif", serif; font-weight: 600; line-height: 1.2;
  text-wrap: balance; break-after: avoid; }
h1 { font-size: 40px; letter-spacing: -0.012em; margin: 6px 0 14px; }
h2 { font-size: 25px; margin: 0 0 6px; }
h3 { font-size: 18px; margin: 34px 0 4px; }
p { max-width: 46em; margin: 0 0 14px; }
.eyebrow { font-size: 13px; letter-spacing: 0.08em; text-transform: uppercase;
  color: var(--muted); margin: 0; }
.lede { font-size: 18px; line-height: 1.5; }
.note { font-size: 14px; color: var(--muted); }
section { border-top: 1px solid var(--rule); margin-top: 44px; padding-top: 26px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px 52px; margin: 30px 0 0; padding: 0; }
.tiles div { min-width: 96px; }
.tiles dt { font-size: 13px; color: var(--muted); }
.tiles dd { margin: 0; font-size: 32px; line-height: 1.25; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums lining-nums; }
.tiles .main { color: var(--blue); font-weight: 600; }
.tiles small { font-size: 14px; color: var(--muted); letter-spacing: 0; font-weight: 400; }
figure { margin: 18px 0 6px; overflow-x: auto; }
figcaption { font-size: 14px; color: var(--muted); max-width: 56em; margin-top: 6px; }
svg { display: block; width: 100%; height: auto; min-width: 720px; overflow: visible; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 14px 0 10px; font-size: 15px;
  font-variant-numeric: tabular-nums lining-nums; }
th { font-weight: 500; font-size: 13px; color: var(--muted); text-align: right;
  vertical-align: bottom; border-bottom: 1px solid var(--ink); }
td { text-align: right; border-bottom: 1px solid var(--grid); }
th, td { padding: 6px 0 6px 28px; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
.events :is(th, td):nth-child(2), .events :is(th, td):nth-child(3) { text-align: left; }
tr.ours td { font-weight: 600; color: var(--blue); }
tr.group td { border-bottom: 1px solid var(--rule); padding-top: 18px; font-size: 13px;
  color: var(--muted); }
details { margin-top: 6px; }
summary { cursor: pointer; font-size: 15px; color: var(--muted); padding: 6px 0; }
.pairs { columns: 3 250px; column-gap: 44px; margin: 10px 0 0; font-size: 14px;
  font-variant-numeric: tabular-nums; }
.pairs div { display: flex; justify-content: space-between; gap: 16px; padding: 3px 0;
  border-bottom: 1px solid var(--grid); break-inside: avoid; }
.pairs dt { color: var(--muted); white-space: nowrap; }
.pairs dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.facts { columns: 2 300px; }
.facts + p { margin-top: 14px; break-before: avoid; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
footer { margin-top: 44px; font-size: 13px; color: var(--muted); }

svg text { fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums lining-nums; }
svg .tick, svg .axis-title { fill: var(--muted); }
svg .panel-title { font-weight: 600; font-size: 13px; }
svg .axis-title { font-size: 12.5px; }
svg .band-label { fill: var(--band-ink); font-size: 11.5px; }
svg .label { font-size: 13px; font-weight: 500; }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .break { stroke: var(--ink); fill: none; stroke-width: 1.2; }
svg .break-line { stroke: var(--rule); stroke-dasharray: 2 4; }
svg .leader { stroke: var(--rule); }
svg .band { fill: var(--band); }
svg .curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round;
  stroke-linecap: round; }
svg .raw { fill: none; stroke: currentColor; stroke-width: 0.7; opacity: 0.32; }
svg .dot { fill: var(--ground); stroke: currentColor; stroke-width: 2; }
svg .reference { stroke: currentColor; stroke-width: 1; stroke-dasharray: 5 4; }
svg .reference.c2 { stroke-width: 2; stroke-dasharray: none; }
svg .c1 { color: var(--blue); } svg .c2 { color: var(--orange); }
svg .c3 { color: var(--green); } svg .c4 { color: var(--muted); }
svg text.c1 { fill: var(--blue); } svg text.c2 { fill: var(--orange); }
svg text.c3 { fill: var(--green); } svg text.c4 { fill: var(--muted); font-weight: 400; }
svg .readout { fill: transparent; }
svg .readout:hover { fill: var(--ink); fill-opacity: 0.07; }
svg .cell { fill: var(--blue); }
svg .cell.missing { fill: var(--muted); }
svg .cell-text { text-anchor: middle; font-size: 11px; pointer-events: none; }
svg .cell-text.inverse { fill: var(--ground); }
svg .cell-text.between { fill: var(--on-half); }
svg .small { font-size: 10px; }
svg .bar { fill: var(--blue); fill-opacity: 0.75; }
svg .mark { stroke-linejoin: round; }
svg .mark.expand, svg .mark.add { fill: var(--blue); } svg .mark.keep { fill: var(--green); }
svg .mark.reject, svg .mark.remove { fill: none; stroke: var(--orange); stroke-width: 2; stroke-linecap: round; }
svg .mark.stop { fill: var(--plum); }
svg text.expand, svg text.add { fill: var(--blue); } svg text.keep { fill: var(--green); }
svg text.reject, svg text.remove { fill: var(--orange); } svg text.stop { fill: var(--plum); }
svg .life .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .life .hit { fill: none; stroke: transparent; stroke-width: 12; pointer-events: stroke; }
svg .life:hover .line { stroke-width: 3.5; }
svg .founder .line { stroke: var(--muted); stroke-width: 1.4; }
svg .newborn .line { stroke: var(--blue); } svg .newborn .branch { fill: var(--blue); }
svg .newborn .id { fill: var(--blue); font-weight: 600; }
svg .removed .line { stroke: var(--orange); stroke-dasharray: 4 3; }
svg .removed .branch, svg .removed .id { fill: var(--orange); }

@media (max-width: 640px) { main { padding: 28px 18px 48px; } h1 { font-size: 30px; } }
@media print {
  @page { margin: 14mm; }
  :root { color-scheme: light; --ground: #fff; --ink: #000; --muted: #444; --rule: #999;
    --grid: #ddd; --soft: #fff; --band: #f4f1e4; --band-ink: #554515; --blue: #00528c;
    --orange: #a33f00; --green: #00654c; --plum: #7d3566;
    --on-half: #000; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 24pt; } h2 { font-size: 16pt; }
  .tiles { gap: 8px 34px; margin-top: 18px; } .tiles dd { font-size: 18pt; }
  .tiles div { min-width: 0; }
  h3 { margin-top: 20px; }
  section { margin-top: 22px; padding-top: 14px; } th, td { padding: 4px 0 4px 24px; }
  svg text, svg .panel-title, svg .label { font-size: 14px; } svg .cell-text { font-size: 12.5px; }
  svg .small { font-size: 11px; }
  svg { min-width: 0; } figure, tr { break-inside: avoid; } .scroll, figure { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
  summary { list-style: none; }
}
)css";

}  // namespace offshoot
