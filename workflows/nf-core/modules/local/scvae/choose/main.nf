process SCVAE_CHOOSE {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container 'scvae-cli:0.1.0'

    input:
    tuple val(meta), path(cells)

    output:
    tuple val(meta), path("${prefix}")                    , emit: choice
    tuple val(meta), path("${prefix}/chosen-*")           , emit: run
    tuple val(meta), path("${prefix}/chosen-*/cells.h5ad"), emit: h5ad
    tuple val(meta), path("${prefix}/choice.csv")         , emit: table
    path "versions.yml"                                   , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    scvae choose ${cells} ${args} \\
        --to ${prefix} \\
        hydra/launcher=joblib hydra.launcher.n_jobs=${task.cpus} threads=1 \\
        quiet=true multiqc=${prefix}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scvae-cli: \$(scvae --version | sed 's/scvae //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p ${prefix}/chosen-stub
    touch ${prefix}/choice.csv ${prefix}/chosen-stub/cells.h5ad

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scvae-cli: \$(scvae --version | sed 's/scvae //')
    END_VERSIONS
    """
}
