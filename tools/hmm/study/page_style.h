// What the pages of the studies add to the report's style sheet.
#pragma once

#include <string_view>

namespace offshoot {

inline constexpr std::string_view kStudyStyle = R"css(
:root { --gold: #856300; --violet: #5a4fcf; --red: #a8323e; }
@media (prefers-color-scheme: dark) { :root {
  --gold: #d9b44a; --violet: #aba2ff; --red: #ff8f96; } }
.findings { margin: 22px 0 0; padding: 0; list-style: none; max-width: 50em; }
.findings > li { padding: 10px 0 10px 190px; border-top: 1px solid var(--grid); position: relative; }
.findings > li:first-child { border-top: 0; }
.findings .verdict { position: absolute; left: 0; font-size: 14px; font-weight: 600; }
.findings .question { font-weight: 600; }
.findings ul { margin: 4px 0 0; padding-left: 18px; list-style: disc; font-size: 15px;
  font-variant-numeric: tabular-nums; }
.holds { color: var(--green); } .fails { color: var(--orange); } .unclear { color: var(--muted); }
.quick { border-left: 3px solid var(--orange); padding-left: 14px; }
table.cells { font-size: 13px; }
table.cells th { white-space: normal; max-width: 9em; }
table.cells :is(th, td) { padding-left: 15px; }
table.cells :is(th, td):first-child { padding-left: 0; }
table.cells tr:not(.group) td:first-child { padding-left: 12px; }
td.noise { color: var(--muted); }
table.cells tr:not(.group) td:first-child { white-space: normal; max-width: 17em; }
h3::first-letter { text-transform: uppercase; }
.list-title { font-weight: 600; font-size: 15px; margin: 18px 0 0; }
.two { font-size: 15px; columns: 2 320px; column-gap: 52px; margin: 4px 0 0; padding-left: 18px; }
.two li { break-inside: avoid; padding: 1px 0; }

svg .c5 { color: var(--plum); } svg .c6 { color: var(--gold); }
svg .c7 { color: var(--violet); } svg .c8 { color: var(--ink); }
svg text.c5 { fill: var(--plum); } svg text.c6 { fill: var(--gold); }
svg text.c7 { fill: var(--violet); } svg text.c8 { fill: var(--ink); }
svg .front { color: var(--muted); } svg .curve.front { stroke-width: 1.3; stroke-dasharray: 2 3; }
svg text.front { fill: var(--muted); font-weight: 400; }
svg .mark-shape { fill: var(--ground); stroke: currentColor; stroke-width: 1.8;
  stroke-linejoin: round; }
svg .mark-shape.filled { fill: currentColor; stroke-width: 1; }
svg .mark-shape.faint { fill: currentColor; stroke: none; opacity: 0.32; }
svg .raw.faint { stroke-width: 1.1; opacity: 0.62; }
svg .error, svg .interval { fill: none; stroke: currentColor; stroke-width: 1.2; }
svg .error { opacity: 0.75; }
svg .point-label { font-size: 11.5px; }
svg .stage, svg .zero { stroke: var(--muted); stroke-width: 1; }
svg .stage { stroke-dasharray: 3 3; }
svg .group-title { font-weight: 600; font-size: 13px; }
svg .row-text { fill: var(--muted); font-size: 11.5px; }
svg .row-label.noise, svg .row-text.noise { fill: var(--muted); font-weight: 400; }
svg .noise { color: var(--muted); }
svg .worse { color: var(--orange); } svg .better { color: var(--green); }
svg .above, svg .below { color: var(--blue); }
svg text.worse { fill: var(--orange); } svg text.better { fill: var(--green); }
svg text.above, svg text.below { fill: var(--blue); }
svg .part { fill: currentColor; fill-opacity: 0.85; }
@media (max-width: 640px) { .findings > li { padding-left: 0; }
  .findings .verdict { position: static; display: block; } }
@media print { :root { --gold: #6e5200; --violet: #463bb5; --red: #8f1f2c; } }
)css";

}  // namespace offshoot
