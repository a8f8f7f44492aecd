"""Settings of the documentation site, which `make docs` builds; the pages are docs/**/*.md."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
# Notebooks call `scvae` of this environment, and in their temporary folders import this checkout.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["PYTHONPATH"] = str(HERE.parent)
os.environ["PYTHONSTARTUP"] = str(HERE / "_ext" / "shell.py")

from scvae_cli import __version__  # noqa: E402

project = "scvae"
author = "The scvae developers"
copyright = author  # noqa: A001
release = version = __version__
extensions = [
    "from_code",  # in _ext
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_ext"]

# Pages are Markdown, with anchors at headings as GitHub gives them.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Notebooks are executed while the site is built, each in a folder of its own; an error ends it.
nb_execution_mode = "force"
# Tutorials that `make docs NOT_RUN='...'` shows without what they give, and without colours.
nb_execution_excludepatterns = [f"tutorials/{name}.*" for name in os.getenv("NOT_RUN", "").split()]
suppress_warnings = ["myst-nb.lexer"] if nb_execution_excludepatterns else []
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from a CDN

# A cross reference that leads nowhere is an error (-n); names of other libraries are not links.
nitpick_ignore_regex = [
    ("py:.*", r"(?!scvae_cli\.).*"),
    ("py:class", r"scvae_cli\.(config|models|covariates|analysis\.(align|decoded))\..*"),
    ("py:class", r"scvae_cli\.data\.(wording\.Wording|dataset\.Recipe)"),
]
default_role = "literal"  # docstrings have `names` in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes as a list

html_theme = "sphinx_book_theme"
html_title = "scvae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_use_index = html_domain_indices = False
html_context = {"default_mode": "auto"}  # light or dark, as the system is
html_copy_source = False
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # a second search
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_prompt_text = "$ "
