// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRRemoveStars : AstroSR > Remove Stars
#feature-icon  @script_icons_dir/AstroSRRemoveStars.svg
#feature-info  Separates the stars from the nebulae and galaxies of a linear image.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "remove-stars",
   title: "AstroSR Remove Stars",
   summary: "Takes the stars out of a linear image. Starless image and stars add up to the image.",
   outputs: [ { option: "-o", suffix: "starless" }, { option: "--stars-output", suffix: "stars" } ],
   replaceable: true,
   keepStretch: true,
   parameters: [ ...AstroSR.MODEL_PARAMETERS, AstroSR.FORCE_PARAMETER ]
} );
