"""The page of before and after, with places for its parts."""

from __future__ import annotations

__all__ = ["PAGE"]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { background: #16181d; color: #e8eaed; font: 15px/1.45 system-ui, sans-serif; margin: 0; }
main { max-width: 1400px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
.bar { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin: 8px 0; }
.bar input { flex: 1; min-width: 200px; }
button { background: #2a2e37; color: inherit; border: 1px solid #4a505c; border-radius: 6px;
  padding: 6px 14px; font: inherit; cursor: pointer; }
.pair { position: relative; width: min(100%, ${width}px); line-height: 0; }
.pair img { width: 100%; image-rendering: pixelated; }
.pair .over { position: absolute; inset: 0; clip-path: inset(0 0 0 50%); }
.pair .line { position: absolute; top: 0; bottom: 0; width: 2px; background: #ffffffb0; left: 50%;
  pointer-events: none; }
.crops { display: flex; flex-wrap: wrap; gap: 20px; }
figure { margin: 0; } figure img { image-rendering: pixelated; margin-right: 4px; }
figcaption small { color: #9aa0a8; }
.charts { display: flex; flex-wrap: wrap; gap: 20px; }
.chart { width: 560px; max-width: 100%; background: #1d2027; border-radius: 6px; }
.chart { fill: #b8bec7; font-size: 12px; }
.chart .grid { stroke: #343944; stroke-width: 1; }
.chart polyline { stroke-width: 1.6; }
table { border-collapse: collapse; } th, td { padding: 3px 12px; text-align: left; }
th { color: #9aa0a8; font-weight: 500; } td { overflow-wrap: anywhere; }
.stars td, .stars th { text-align: right; font-variant-numeric: tabular-nums; }
.stars tr:nth-child(even) td { background: #1d2027; }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<div class="bar">
<span>$before</span>
<input id="slider" type="range" min="0" max="100" value="50" step="0.5" aria-label="boundary">
<span>$after</span>
<button id="blink" type="button">Blink</button>
<span id="shown"></span>
</div>
<div class="pair" id="pair">
<img src="$before_src" alt="$before">
<img src="$after_src" alt="$after" class="over" id="over">
<div class="line" id="line"></div>
</div>
<h2>Crops</h2>
<div class="crops">
$crops
</div>
<h2>Histograms and power spectra</h2>
<div class="charts">
$histogram
$spectrum
</div>
<h2>Stars</h2>
$stars
<h2>Point-spread function of $before</h2>
<div class="crops psf">
$psf
</div>
<h2>Facts</h2>
<table>
$facts
</table>
</main>
<script>
const slider = document.getElementById("slider"), over = document.getElementById("over");
const line = document.getElementById("line"), button = document.getElementById("blink");
const pair = document.getElementById("pair"), shown = document.getElementById("shown");
const names = [document.querySelectorAll(".bar span")[0].textContent,
  document.querySelectorAll(".bar span")[1].textContent];
const crops = Array.from(document.querySelectorAll(".crops:not(.psf) figure"), function (figure) {
  const both = figure.querySelectorAll("img");
  return { image: both[0], sources: [both[0].src, both[1].src] };
});
let timer = null, on = false;
function place(percent) {
  over.style.clipPath = "inset(0 0 0 " + percent + "%)";
  line.style.left = percent + "%";
}
// While the field blinks, the left picture of each crop does too.
function turn(after) {
  crops.forEach(function (crop) { crop.image.src = crop.sources[after ? 1 : 0]; });
}
function stop() {
  if (timer !== null) { clearInterval(timer); timer = null; }
  button.textContent = "Blink"; shown.textContent = ""; line.style.display = "";
  place(slider.value); turn(false);
}
slider.addEventListener("input", stop);
pair.addEventListener("pointermove", function (event) {
  if (timer !== null || event.buttons === 0) { return; }
  const box = pair.getBoundingClientRect();
  slider.value = 100 * (event.clientX - box.left) / box.width;
  place(slider.value);
});
pair.addEventListener("dragstart", function (event) { event.preventDefault(); });
button.addEventListener("click", function () {
  if (timer !== null) { stop(); return; }
  button.textContent = "Stop"; line.style.display = "none";
  timer = setInterval(function () {
    on = !on; place(on ? 0 : 100); turn(on); shown.textContent = names[on ? 1 : 0];
  }, 700);
});
place(50);
</script>
</body>
</html>
"""
