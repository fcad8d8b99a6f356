// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRDenoise : AstroSR > Denoise
#feature-icon  @script_icons_dir/AstroSRDenoise.svg
#feature-info  Takes the noise out of a linear image; stars and structure keep their shape and flux.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "denoise",
   title: "AstroSR Denoise",
   summary: "Takes the noise out of a linear image. Stars and structure keep shape and flux.",
   outputs: [ { option: "-o", suffix: "denoised" } ],
   replaceable: true,
   keepStretch: true,
   parameters: [
      AstroSR.real( "strength", "--strength", "Strength", 1, 0, 1,
         "0 leaves the image as it is, 1 is the full effect." ),
      ...AstroSR.MODEL_PARAMETERS,
      AstroSR.FORCE_PARAMETER
   ]
} );
