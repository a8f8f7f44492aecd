"""List where the report and its authors' code differ, and what shows it here.

Facts about the code were read in github.com/okunator/Variational-Autoencoders (betaVAE.py,
betaVSC.py, deepAutoencoder.py, seurat_processing.R, and the notebooks with their printed output).
Numbers in braces are filled in from the runs.
"""

from typing import NamedTuple


class Point(NamedTuple):
    """One difference: what the report says, what the code does, which test or run shows it."""

    number: str
    report: str
    code: str
    shown: str


AUDIT = [
    Point(
        "O1",
        "VSC trained at beta 2",
        "its training loop passes beta 1 to the loss, whatever it is given; the VAE's uses its 2",
        "`experiment=code/vsc`, `code/vae`; section on beta",
    ),
    Point(
        "O2",
        "128-32-16-6 for all three",
        "the AE alone; VAE and VSC are 800-400-6 with a decoder 80-400-800",
        "`test_what_the_authors_code_did_differently_can_be_had`; code presets",
    ),
    Point(
        "O3",
        "ReLU on the AE's z; a 16-wide branch for each head; first layer linear",
        "no ReLU on z; heads straight on the last layer; the VSC's first layer has a ReLU",
        "the same test; code presets",
    ),
    Point("O4", "batches of 256", "of 240", "`test_presets_are_what_they_say`; code presets"),
    Point(
        "O5",
        "LogNormalize",
        "the R script exports z-scores (Seurat's `scale.data`), but the notebook reads another "
        "file, and its first loss (989,485 for 240 cells: 4,123 a cell) can only be that of "
        "log-normalised values: a cell's mean square is 4,033 log-normalised, 10,603 as z-scores",
        "`test_the_notebook_saw_log_normalised_values`; its AE ends at 1,772 a cell, its VAE at "
        "1,650; `code/ae` and `code/vae` at {code_ae} and {code_vae}; runs on z-scores below",
    ),
    Point(
        "O6",
        '"the latent space"',
        "AE: z; VAE: one random sample of the posterior; VSC: mu without its gate",
        "as described against corrected, all tables",
    ),
    Point(
        "O7",
        "3 to 5 min for the AE, 17 to 25 min for the others",
        "one revision of the notebook prints 4:02 and 20:31, another 22:17 three times, as its "
        "variables were not set again",
        "section on times",
    ),
    Point(
        "O8",
        "t-SNE at perplexity 40; k-means",
        "no seeds; scikit-learn's defaults of 2019 (random start, learning rate 200); 100 starts "
        "of k-means",
        "code presets; section on chance",
    ),
    Point(
        "O9",
        "legends with cell types",
        "names paired with numbers by the order of a Python set; the R script swaps two names "
        "(its cluster of 480 cells is CD14+ monocytes, that of 452 memory CD4 T cells)",
        "`test_names_follow_markers_and_never_numbers`, "
        "`test_types_from_the_counts_agree_with_the_reports_clusters`",
    ),
    Point(
        "O10",
        "NMI",
        "the geometric mean, scikit-learn's default before 0.22; today's is arithmetic",
        "`test_published_maps_give_the_published_table`; both in all tables",
    ),
    Point(
        "O11",
        "known cell types",
        "clusters of the same matrix, found on its first 10 principal components: no independent "
        "truth, and PCA is at home there",
        "`test_types_from_the_counts_agree_with_seurats`: made from the same counts alone",
    ),
    Point("O12", "-", "no seed anywhere", "section on chance"),
    Point(
        "O13",
        "the second head gives log sigma",
        "it gives log sigma^2",
        "`test_sigma_is_read_from_its_head_as_asked`; code presets",
    ),
    Point(
        "O14",
        "`log spike = W h + b`, and z drawn with alpha_spike: no gate, no alpha, no c",
        "log gamma = -ReLU(-v), prior probability alpha = 0.5, steepness c = 50; `model=vsc` has "
        "all three from the code, as the text gives none",
        "`test_the_gate_alpha_and_c_are_the_authors_code`; conf/model/vsc.yaml",
    ),
    Point(
        "O15",
        "the squared error is a mean over cells (2.1.1)",
        "the loss is summed over the batch; here it is the mean. Adam's steps do not change by "
        "such a factor, but for its epsilon",
        "`test_the_loss_is_a_mean_over_cells`",
    ),
]
