// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRSuperResolve : AstroSR > Super-Resolve
#feature-icon  @script_icons_dir/AstroSRSuperResolve.svg
#feature-info  Enlarges and sharpens a linear image; coordinates follow the new pixels.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "super-resolve",
   title: "AstroSR Super-Resolve",
   summary: "Enlarges a linear image and sharpens it. Coordinates follow the new pixels.",
   outputs: [ { option: "-o", suffix: "enlarged" } ],
   replaceable: false,
   keepStretch: true,
   parameters: [
      AstroSR.choice( "scale", "--scale", "Scale", "2", [ "2", "4" ],
         "How many times as wide and as high; 4 shows no finer detail than 2." ),
      AstroSR.flag( "conserveFlux", "--conserve-flux", "Conserve flux", false,
         "Keep the sum of the pixels instead of the surface brightness." ),
      ...AstroSR.PSF_PARAMETERS,
      ...AstroSR.MODEL_PARAMETERS,
      AstroSR.FORCE_PARAMETER
   ]
} );
