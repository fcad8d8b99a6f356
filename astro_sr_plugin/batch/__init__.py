"""Many images, one recipe: the engine behind ``astro-sr batch`` and `astro_sr_plugin.run_batch`.

The modules, in the order of the work: ``verbs`` (what a step can be), ``recipe`` (steps, read from
TOML and checked), ``inputs`` (which files, and what the results are called), ``journal`` (what is
finished already), ``work`` (one image, in whatever process) and ``run`` (all of them).
"""
