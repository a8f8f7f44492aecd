process SCVAE_EMBED {
    tag "${meta.id}"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container 'scvae-cli:0.1.0'

    input:
    tuple val(meta), path(cells)
    path run

    output:
    tuple val(meta), path("${prefix}.csv") , emit: latent
    tuple val(meta), path("${prefix}.h5ad"), emit: h5ad
    path "versions.yml"                    , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}_scvae"
    """
    scvae embed ${run} ${cells} ${args} \\
        --to ${prefix}.csv \\
        --h5ad ${prefix}.h5ad

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scvae-cli: \$(scvae --version | sed 's/scvae //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}_scvae"
    """
    touch ${prefix}.csv ${prefix}.h5ad

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scvae-cli: \$(scvae --version | sed 's/scvae //')
    END_VERSIONS
    """
}
