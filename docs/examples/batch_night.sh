# A night in the shell: the recipe, a first run, a second one that finds nothing to do, a page.
set -e
python frames.py
cat > recipe.toml <<'RECIPE'
[[step]]
verb = "deconvolve"
stars = 0.7
RECIPE
astro-sr batch frames/ -o results/ --recipe recipe.toml --jobs 2
astro-sr batch frames/ -o results/ --recipe recipe.toml --json > results.json
astro-sr compare frames/frame_1.fits results/frame_1_sharp.fits -o frame_1.html
