// AstroSR for PixInsight 1.9.4 and newer. BSD-3-Clause, the astro_sr_plugin developers.

#engine v8

#feature-id    AstroSRStretch : AstroSR > Stretch
#feature-icon  @script_icons_dir/AstroSRStretch.svg
#feature-info  Stretches a linear image invertibly: the curve is kept in the FITS keywords.

#include "AstroSR-lib.js"

AstroSR.main( {
   verb: "stretch",
   title: "AstroSR Stretch",
   summary: "Stretches a linear image. AstroSR Unstretch can undo it: the curve is kept in the " +
      "FITS keywords. Nothing is clipped.",
   outputs: [ { option: "-o", suffix: "stretched" } ],
   replaceable: true,
   keepStretch: false,
   parameters: [
      AstroSR.choice( "name", "--name", "Curve", "mtf", [ "mtf", "asinh", "ghs", "log", "gamma" ],
         "Family of curves." ),
      AstroSR.flag( "unlinked", "--unlinked", "Unlinked channels", false,
         "A curve for each colour channel, not one for all." ),
      AstroSR.words( "set", "--set", "Curve parameters",
         "NAME=NUMBER, several of them separated by blanks, instead of fitted or usual values." )
   ]
} );
