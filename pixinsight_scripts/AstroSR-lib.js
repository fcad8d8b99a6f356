// What all AstroSR scripts share. A script describes its command in a few lines and calls
// AstroSR.main(); from that description come the dialog, the process icon and the command line.
//
// astro-sr works on a copy of the view in a temporary file. The user's own window is written to
// only at the very end, when the result is complete and open.
//
// For PixInsight 1.9.4 and newer, V8 engine. BSD-3-Clause, the astro_sr_plugin developers.

var AstroSR = ( function()
{
   "use strict";

   const COMMAND_SETTING = "AstroSR/command";
   const WAIT_MS = 100;
   const WCS_KEYWORD = new RegExp( "^(CTYPE|CRVAL|CRPIX|CDELT|CROTA|CUNIT)\\d$" +
      "|^(CD|PC|PV)\\d_\\d$|^(A|B|AP|BP)_|^(LON|LAT)POLE$" );

   // ------------------------------------------------------------------------------------------
   // Parameters. `off` is the value that stands for "leave it to astro-sr": no option is given.

   function real( id, option, label, value, low, high, tip, off )
   {
      return { kind: "real", id, option, label, value, low, high, tip, off };
   }

   function integer( id, option, label, value, low, high, tip, off )
   {
      return { kind: "integer", id, option, label, value, low, high, tip, off };
   }

   function choice( id, option, label, value, items, tip )
   {
      return { kind: "choice", id, option, label, value, items, tip };
   }

   function flag( id, option, label, value, tip )
   {
      return { kind: "flag", id, option, label, value, tip };
   }

   function text( id, option, label, tip )
   {
      return { kind: "text", id, option, label, value: "", tip };
   }

   // Several values separated by blanks; the option is given once for each.
   function words( id, option, label, tip )
   {
      return { kind: "words", id, option, label, value: "", tip };
   }

   const MODEL_PARAMETERS = [
      text( "model", "--model", "Model",
         "A name that 'astro-sr models list' shows, or a weights file. Empty: the usual model." ),
      choice( "device", "--device", "Device", "auto", [ "auto", "cpu", "cuda", "mps" ],
         "Where to compute: auto takes a graphics card if there is one." ),
      integer( "tileSize", "--tile-size", "Tile size", 0, 0, 4096,
         "Edge of a tile in pixels; 0: by memory. The result does not depend on it.", 0 )
   ];

   const PSF_PARAMETERS = [
      real( "targetFwhm", "--target-fwhm", "Target FWHM", 0, 0, 20,
         "Width of the stars in the result, in its pixels; 0: by the measured width.", 0 ),
      text( "psf", "--psf", "Star profile",
         "FWHM, or FWHM,BETA, or FWHM,BETA,ELLIPTICITY,THETA of the stars in the image, or a " +
         "FITS image of a star. Empty: measured in the image." ),
      flag( "autoScale", "--auto-scale", "Reduce wide stars", false,
         "If stars are wider than 6 pixels, reduce the image by a whole number first." )
   ];

   const FORCE_PARAMETER = flag( "force", "--force", "Use the pixels as they are", false,
      "Work on an image that the script is not for: a mosaic, magnitudes, a stretched image, one " +
      "that was denoised or sharpened before." );

   const REPLACE_PARAMETER = flag( "replace", null, "Replace the image", false,
      "Put the result into the view itself, as one step that can be undone, instead of opening " +
      "a new window." );

   function parametersOf( spec )
   {
      return spec.replaceable ? [ ...spec.parameters, REPLACE_PARAMETER ] : spec.parameters;
   }

   function readParameters( spec )
   {
      let values = {};
      for ( let p of parametersOf( spec ) )
      {
         values[p.id] = p.value;
         if ( !Parameters.has( p.id ) )
            continue;
         switch ( p.kind )
         {
         case "real": values[p.id] = Parameters.getReal( p.id ); break;
         case "integer": values[p.id] = Parameters.getInteger( p.id ); break;
         case "flag": values[p.id] = Parameters.getBoolean( p.id ); break;
         default: values[p.id] = Parameters.getString( p.id );
         }
      }
      return values;
   }

   function storeParameters( spec, values )
   {
      for ( let p of parametersOf( spec ) )
         Parameters.set( p.id, values[p.id] );
   }

   function optionsOf( spec, values )
   {
      let options = [];
      for ( let p of spec.parameters )
      {
         let value = values[p.id];
         if ( p.kind == "flag" )
         {
            if ( value )
               options.push( p.option );
         }
         else if ( p.kind == "text" || p.kind == "words" )
         {
            let entered = value.trim();
            let parts = p.kind == "words" ? entered.split( /\s+/ ) : [ entered ];
            if ( entered.length > 0 )
               for ( let part of parts )
                  options.push( p.option, part );
         }
         else if ( value !== p.off )
            options.push( p.option, String( value ) );
      }
      return options;
   }

   // What astro-sr says, in the words of the script: parameters by their labels, and no files.
   function inScriptWords( spec, message )
   {
      let labels = {};
      // A report of the measurement recommends parameters of other scripts.
      for ( let p of [ ...PSF_PARAMETERS, ...parametersOf( spec ) ] )
         if ( p.option )
            labels[p.option] = "'" + p.label + "'";
      return message
         .replace( /\bastro-sr ([a-z-]+) .+? -o \S+( (?=--))?/g,
            ( found, verb, more ) => titleOf( verb ) + ( more ? " with " : "" ) )
         .replace( "(astro-sr unstretch, undo_stretch)", "(" + titleOf( "unstretch" ) + ")" )
         .replace( /--debayer superpixel or --debayer bilinear/g,
            "the process Debayer" )
         .replace( /(^|[^\w-])(--[a-z][a-z-]*)/g, ( found, before, option ) => before +
            ( labels[option] || "the option " + option + " of the command astro-sr" ) );
   }

   // The script that stands for a verb of astro-sr.
   function titleOf( verb )
   {
      return "AstroSR " + verb.replace( /(^|-)[a-z]/g, start => start.toUpperCase() );
   }

   // ------------------------------------------------------------------------------------------
   // The command

   // PixInsight's own libraries must not be loaded into Python, which Linux would do.
   function start( process, command, options )
   {
      if ( File.exists( "/usr/bin/env" ) )
         process.start( "/usr/bin/env", [ "-u", "LD_LIBRARY_PATH", command, ...options ] );
      else
         process.start( command, options );
      if ( !process.waitForStarted() )
         throw new Error( "The command " + command + " could not be started." );
   }

   // Run a command to its end, and hand its lines to `onLine` as they come. PixInsight may
   // deliver both streams of a process as one, so they are not told apart.
   function run( command, options, onLine )
   {
      let rests = { stdout: "", stderr: "" };
      let process = new ExternalProcess;
      let read = ( stream ) =>
      {
         let lines = ( rests[stream] + process[stream].utf8ToString() ).split( /\r\n|\n|\r/ );
         rests[stream] = lines.pop();
         lines.forEach( onLine );
      };
      process.onStandardOutputDataAvailable = () => read( "stdout" );
      process.onStandardErrorDataAvailable = () => read( "stderr" );

      console.abortEnabled = true;
      start( process, command, options );
      while ( process.isStarting || process.isRunning )
      {
         process.waitForFinished( WAIT_MS );
         processEvents();
         if ( console.abortRequested )
         {
            process.kill();
            process.waitForFinished();
            throw new Error( "Stopped by the user; nothing was changed." );
         }
      }
      for ( let stream of [ "stdout", "stderr" ] )
      {
         read( stream );
         if ( rests[stream].length > 0 )
            onLine( rests[stream] );
      }
      return process.exitCode;
   }

   // Run astro-sr and report on the Console. `names` says what stands for a temporary file there.
   function runAstroSR( spec, command, options, names )
   {
      let last = "", error = "", progress = false;
      let exitCode = run( command, options, ( line ) =>
      {
         line = line.trim();
         let step = /^Progress:\s+([\d.]+)%\s+\((\d+\/\d+ \w+)/.exec( line );
         if ( step )
         {
            let percent = String( Math.floor( Number( step[1] ) ) ).padStart( 3 ) + "%";
            console.write( ( progress ? "<end>\b\b\b\b" : "<end><cbr>Progress: " ) + percent );
            progress = true;
            return;
         }
         if ( line.length == 0 )
            return;
         for ( let path in names )
            for ( let written of [ path, path.replace( /\//g, "\\" ) ] ) // as Windows prints it
               line = line.split( written ).join( names[path] );
         line = line.replace( /^(astro-sr: (?:error|warning): )?(.*)$/,
            ( found, start, rest ) => ( start || "" ) + inScriptWords( spec, rest ) );
         last = line;
         let message = /^astro-sr: (error|warning): (.*)$/.exec( line );
         let write = ( kind, what ) => console[kind]( "<end><cbr><raw>" + what + "</raw>" );
         if ( message && message[1] == "error" )
            error = message[2];
         else if ( message )
            write( "warningln", "** Warning: " + message[2] );
         else
            write( "writeln", line );
         progress = false;
      } );
      console.writeln( "<end><cbr>" );
      if ( exitCode != 0 )
         throw new Error( error || last || "astro-sr ended with exit code " + exitCode + "." );
   }

   // The command that was chosen before; the user is asked where there is none, or it has gone.
   function findCommand()
   {
      let command = Settings.read( COMMAND_SETTING, DataType.UTF8String );
      return command && File.exists( command ) ? command : chooseCommand();
   }

   function chooseCommand()
   {
      let dialog = new OpenFileDialog;
      dialog.caption = "AstroSR: where is the astro-sr command?";
      dialog.initialPath = File.homeDirectory;
      dialog.filters = [ [ "All files", "*" ] ];
      if ( !dialog.execute() )
         throw new Error( "The astro-sr command is needed: install astro_sr_plugin, choose it." );
      let command = dialog.filePath;
      let answer = "";
      let exitCode = run( command, [ "--version" ], ( line ) => answer += line );
      if ( exitCode != 0 || !/^astro-sr \d/.test( answer ) )
         throw new Error( command + " is not the astro-sr command." );
      Settings.write( COMMAND_SETTING, DataType.UTF8String, command );
      return command;
   }

   // ------------------------------------------------------------------------------------------
   // Temporary files

   function makeFolder()
   {
      let unique = Date.now().toString( 36 ) + Math.random().toString( 36 ).substring( 2, 10 );
      let folder = File.systemTempDirectory + "/astro-sr-" + unique;
      File.createDirectory( folder, true );
      return folder;
   }

   // Never throws: it runs after everything else, also after an error.
   function removeFolder( folder )
   {
      try
      {
         let names = [];
         let find = new FileFind;
         if ( find.begin( folder + "/*" ) )
            do
               if ( find.name != "." && find.name != ".." )
                  names.push( find.name );
            while ( find.next() );
         find.end();
         for ( let name of names )
            File.remove( folder + "/" + name );
         File.removeDirectory( folder );
      }
      catch ( error )
      {
         console.warningln( "** Warning: the temporary folder " + folder +
            " could not be removed: " + error.message );
      }
   }

   // ------------------------------------------------------------------------------------------
   // Images

   function check( view )
   {
      if ( !view || view.isNull )
         throw new Error( "There is no image: open one, or choose one in the dialog." );
      let image = view.image;
      if ( image.isComplex )
         throw new Error( view.fullId + " is a complex image; real ones can be processed." );
   }

   // Save the view in a file, by way of a window of its own: saveAs() on the user's window would
   // make it a window of the temporary file. Floating point, since astro-sr keeps values as they
   // are and PixInsight's range is 0 to 1.
   function saveCopy( view, path )
   {
      let image = view.image, owner = view.window;
      let copy = new ImageWindow( image.width, image.height, image.numberOfChannels,
         image.bitsPerSample, image.isReal, image.isColor, "AstroSR_input" );
      try
      {
         copy.mainView.beginProcess( UndoFlag.NoSwapFile );
         copy.mainView.image.assign( image );
         if ( image.hasAlphaChannels )
            copy.mainView.image.deleteAlphaChannels();
         copy.mainView.endProcess();
         if ( !image.isReal )
            copy.setSampleFormat( 32, true );
         copy.keywords = view.isMainView ? owner.keywords
            : owner.keywords.filter( k => !WCS_KEYWORD.test( k.name.trim() ) );
         if ( view.isMainView && owner.hasAstrometricSolution )
            copy.copyAstrometricSolution( owner );
         if ( !copy.saveAs( path, false, false, true, false, "no-compression" ) )
            throw new Error( "The temporary file " + path + " could not be written." );
      }
      finally
      {
         copy.forceClose();
      }
   }

   // Open a result exactly as it was written: PixInsight would cut values off at 0 and 1.
   function openResult( path, id )
   {
      let windows = ImageWindow.open( path, id, "no-normalize", true );
      if ( !windows || windows.length == 0 )
         throw new Error( "The result of astro-sr could not be opened." );
      return windows[0];
   }

   function sayRange( id, image )
   {
      let low = image.minimum(), high = image.maximum();
      if ( low < 0 || high > 1 )
         console.noteln( "* " + id + ": values from " + low.toPrecision( 4 ) + " to " +
            high.toPrecision( 4 ) + " are kept as they are. PixInsight shows those below 0 as " +
            "black and above 1 as white, and cuts them off when it reads a saved image again; " +
            "PixelMath with 'Rescale result' brings all into 0 to 1, on another scale." );
   }

   function sameGeometry( a, b )
   {
      return a.width == b.width && a.height == b.height && a.numberOfChannels == b.numberOfChannels;
   }

   // The header of the file holds the keywords, brought up to date; the full solution, with its
   // distortion model, is known to PixInsight alone and fits the same geometry only.
   function restoreSolution( view, result )
   {
      let owner = view.window;
      if ( !view.isMainView || !owner.hasAstrometricSolution )
         return;
      let image = result.mainView.image;
      if ( image.width == view.image.width && image.height == view.image.height )
         result.copyAstrometricSolution( owner );
      else if ( !result.hasAstrometricSolution )
         console.warningln( "** Warning: the astrometric solution could not be carried over; " +
            "solve the new image again." );
      else if ( view.properties.some( id => id.startsWith( "PCL:AstrometricSolution:Spline" ) ) )
         console.noteln( "* The astrometric solution of the new image is linear: run ImageSolver " +
            "to have its distortion model again." );
   }

   function replacePixels( view, result )
   {
      let owner = view.window;
      view.beginProcess( view.isMainView ? UndoFlag.PixelData | UndoFlag.Keywords
                                         : UndoFlag.PixelData );
      try
      {
         view.image.assign( result.mainView.image );
         if ( view.isMainView )
            owner.keywords = result.keywords;
      }
      catch ( error )
      {
         view.cancelProcess();
         throw error;
      }
      view.endProcess();
      if ( view.isMainView && result.hasAstrometricSolution && !owner.hasAstrometricSolution )
         owner.copyAstrometricSolution( result );
   }

   // Why the pixels of the view cannot be replaced; an empty text if they can.
   function whyNotReplaced( view, result )
   {
      if ( view.isNull )
         return "the image was closed meanwhile";
      if ( !view.image.isReal )
         return "the image has integer samples, and the result has floating point ones";
      if ( !sameGeometry( view.image, result.mainView.image ) )
         return "the result has another size or other channels";
      return "";
   }

   function showResult( view, result, keepStretch )
   {
      if ( keepStretch && !view.isNull )
         result.mainView.stf = view.stf;
      result.show();
      result.zoomToFit();
   }

   // ------------------------------------------------------------------------------------------
   // The work

   function execute( spec, values, view )
   {
      check( view );
      let command = findCommand();
      storeParameters( spec, values );
      console.noteln( "<end><cbr><br>* " + spec.title + ": " + view.fullId );
      let folder = makeFolder();
      let results = [];
      try
      {
         let input = folder + "/input.xisf";
         let outputs = spec.outputs.map( o => folder + "/" + o.suffix + ".xisf" );
         let ids = spec.outputs.map( o => view.id + "_" + o.suffix );
         let names = { [input]: view.fullId };
         outputs.forEach( ( path, i ) => names[path] = ids[i] );

         let options = [ spec.verb, input ];
         spec.outputs.forEach( ( o, i ) => options.push( o.option, outputs[i] ) );
         if ( spec.outputs.length > 0 )
            options.push( "--dtype", view.image.isReal && view.image.bitsPerSample == 64
                                     ? "float64" : "float32" );
         options.push( ...optionsOf( spec, values ), "--progress", "line" );

         saveCopy( view, input );
         runAstroSR( spec, command, options, names );
         outputs.forEach( ( path, i ) => results.push( openResult( path, ids[i] ) ) );
         deliver( spec, values, view, results );
      }
      catch ( error )
      {
         results.forEach( window => window.forceClose() );
         throw error;
      }
      finally
      {
         removeFolder( folder );
      }
   }

   function deliver( spec, values, view, results )
   {
      if ( !view.isNull )
         results.forEach( window => restoreSolution( view, window ) );
      results.forEach( ( window, i ) =>
      {
         if ( i == 0 && values.replace )
         {
            let reason = whyNotReplaced( view, window );
            if ( reason.length == 0 )
            {
               replacePixels( view, window );
               sayRange( view.fullId, view.image );
               window.forceClose();
               return;
            }
            console.warningln( "** Warning: the result is in a new window, since " + reason + "." );
         }
         showResult( view, window, spec.keepStretch );
         sayRange( window.mainView.id, window.mainView.image );
      } );
   }

   // ------------------------------------------------------------------------------------------
   // The dialog

   class ProcessDialog extends Dialog
   {
      constructor( spec, values )
      {
         super();
         this.windowTitle = spec.title;
         this.view = null;
         this.labelWidth = this.font.width( "astro-sr command:MM" );

         let help = new Label( this );
         help.wordWrapping = true;
         help.useRichText = true;
         help.margin = 4;
         help.text = "<p><b>" + spec.title + "</b></p><p>" + spec.summary + "</p>";

         this.sizer = new VerticalSizer;
         this.sizer.margin = 8;
         this.sizer.spacing = 6;
         this.sizer.add( help );
         this.addRow( "Image", this.makeViewList() );
         for ( let p of parametersOf( spec ) )
            this.addParameter( p, values );
         this.addRow( "astro-sr command", ...this.makeCommandChooser() );
         this.sizer.addStretch();
         this.sizer.add( this.makeButtons( spec, values ) );
         this.adjustToContents();
         this.setMinWidth();
      }

      addRow( label, ...controls )
      {
         let name = new Label( this );
         name.text = label.length > 0 ? label + ":" : "";
         name.textAlignment = TextAlignment.Right | TextAlignment.VertCenter;
         name.setFixedWidth( this.labelWidth );
         let row = new HorizontalSizer;
         row.spacing = 4;
         row.add( name );
         controls.forEach( ( control, i ) => row.add( control, i == 0 ? 100 : 0 ) );
         this.sizer.add( row );
      }

      makeViewList()
      {
         let list = new ViewList( this );
         list.getAll();
         let window = ImageWindow.activeWindow;
         if ( window && !window.isNull )
            list.currentView = this.view = window.currentView;
         list.onViewSelected = view => this.view = view;
         return list;
      }

      addParameter( p, values )
      {
         if ( p.kind == "flag" )
         {
            let box = new CheckBox( this );
            box.text = p.label;
            box.checked = values[p.id];
            box.onCheck = checked => values[p.id] = checked;
            this.finishParameter( "", p, box );
         }
         else if ( p.kind == "real" )
         {
            let control = new NumericControl( this );
            control.setReal( true );
            control.setRange( p.low, p.high );
            control.setPrecision( 2 );
            control.setValue( values[p.id] );
            control.onValueUpdated = value => values[p.id] = Number( value.toFixed( 2 ) );
            this.finishParameter( p.label, p, control );
         }
         else if ( p.kind == "integer" )
         {
            let box = new SpinBox( this );
            box.setRange( p.low, p.high );
            box.value = values[p.id];
            box.onValueUpdated = value => values[p.id] = value;
            this.finishParameter( p.label, p, box );
         }
         else if ( p.kind == "choice" )
         {
            let box = new ComboBox( this );
            p.items.forEach( item => box.addItem( item ) );
            box.currentItem = Math.max( 0, p.items.indexOf( values[p.id] ) );
            box.onItemSelected = index => values[p.id] = p.items[index];
            this.finishParameter( p.label, p, box );
         }
         else
         {
            let edit = new Edit( this );
            edit.text = values[p.id];
            edit.onTextUpdated = entered => values[p.id] = entered;
            this.finishParameter( p.label, p, edit );
         }
      }

      finishParameter( label, p, control )
      {
         control.toolTip = "<p>" + p.tip + "</p>";
         this.addRow( label, control );
      }

      makeCommandChooser()
      {
         let path = new Edit( this );
         path.readOnly = true;
         path.text = Settings.read( COMMAND_SETTING, DataType.UTF8String ) || "";
         path.toolTip = "<p>Where the astro-sr command is installed. It is asked for once.</p>";
         let choose = new PushButton( this );
         choose.text = "Choose";
         choose.onClick = () => reporting( () => path.text = chooseCommand() );
         return [ path, choose ];
      }

      makeButtons( spec, values )
      {
         let instance = new ToolButton( this );
         instance.icon = this.scaledResource( ":/process-interface/new-instance.png" );
         instance.setScaledFixedSize( 24, 24 );
         instance.toolTip = "<p>New instance: drag it to the workspace for a process icon.</p>";
         instance.onMousePress = () =>
         {
            storeParameters( spec, values );
            instance.hasFocus = true;
            instance.pushed = false;
            this.newInstance();
         };
         let ok = new PushButton( this );
         ok.text = "OK";
         ok.onClick = () => this.ok();
         let cancel = new PushButton( this );
         cancel.text = "Cancel";
         cancel.onClick = () => this.cancel();
         let row = new HorizontalSizer;
         row.spacing = 6;
         row.add( instance );
         row.addStretch();
         row.add( ok );
         row.add( cancel );
         return row;
      }
   }

   // ------------------------------------------------------------------------------------------

   // Do something for the user at the dialog: an error is one sentence on the Console and in a box.
   function reporting( work )
   {
      try
      {
         work();
      }
      catch ( error )
      {
         console.criticalln( "<end><cbr><raw>*** Error: " + error.message + "</raw>" );
         if ( console.abortRequested )
            return;
         let plain = error.message.replace( /&/g, "&amp;" ).replace( /</g, "&lt;" );
         let box = new MessageBox( "<p>" + plain + "</p>", "AstroSR", StdIcon.Error, StdButton.Ok );
         box.execute();
      }
   }

   function main( spec )
   {
      CoreApplication.ensureMinimumVersion( 1, 9, 4 );
      console.show();
      let values = readParameters( spec );
      if ( Parameters.isViewTarget )
      {
         // An error ends the process instance, so that a process container stops too.
         execute( spec, values, Parameters.targetView );
         return;
      }
      let dialog = new ProcessDialog( spec, values );
      if ( dialog.execute() == StdDialogCode.Ok )
         reporting( () => execute( spec, values, dialog.view ) );
   }

   return { main, real, integer, choice, flag, text, words,
      FORCE_PARAMETER, MODEL_PARAMETERS, PSF_PARAMETERS };
} )();
