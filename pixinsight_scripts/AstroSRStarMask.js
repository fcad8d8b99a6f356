// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRStarMask : AstroSR > Star Mask
#feature-icon  @script_icons_dir/AstroSRStarMask.svg
#feature-info  Makes a mask of the stars of a linear image.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "star-mask",
   title: "AstroSR Star Mask",
   summary: "Makes a mask of the stars of a linear image: 1 in stars, 0 elsewhere.",
   outputs: [ { option: "-o", suffix: "star_mask" } ],
   replaceable: false,
   keepStretch: false,
   parameters: [ AstroSR.FORCE_PARAMETER ]
} );
