// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRMeasure : AstroSR > Measure
#feature-icon  @script_icons_dir/AstroSRMeasure.svg
#feature-info  Measures star widths, background, noise and sampling of a linear image.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "measure",
   title: "AstroSR Measure",
   summary: "Writes star widths, background, noise and sampling to the Process Console.",
   outputs: [],
   replaceable: false,
   keepStretch: false,
   parameters: [ AstroSR.FORCE_PARAMETER ]
} );
