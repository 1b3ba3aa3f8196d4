"""The papers, a module or a package each; ``interp_core.registry`` lists them."""
