// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRDeconvolve : AstroSR > Deconvolve
#feature-icon  @script_icons_dir/AstroSRDeconvolve.svg
#feature-info  Sharpens a linear image to a smaller, round star profile.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "deconvolve",
   title: "AstroSR Deconvolve",
   summary: "Sharpens stars and extended structure of a linear image to a smaller, round profile.",
   outputs: [ { option: "-o", suffix: "sharp" } ],
   replaceable: true,
   keepStretch: true,
   parameters: [
      AstroSR.real( "stars", "--stars", "Stars", 1, 0, 1, "How far stars are sharpened." ),
      AstroSR.real( "extended", "--extended", "Everything else", 1, 0, 1,
         "How far nebulae and galaxies are sharpened." ),
      ...AstroSR.PSF_PARAMETERS,
      ...AstroSR.MODEL_PARAMETERS,
      AstroSR.FORCE_PARAMETER
   ]
} );
