// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRUnstretch : AstroSR > Unstretch
#feature-icon  @script_icons_dir/AstroSRUnstretch.svg
#feature-info  Undoes AstroSR Stretch by the numbers in the FITS keywords.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "unstretch",
   title: "AstroSR Unstretch",
   summary: "Undoes AstroSR Stretch by the numbers in the FITS keywords.",
   outputs: [ { option: "-o", suffix: "linear" } ],
   replaceable: true,
   keepStretch: false,
   parameters: []
} );
