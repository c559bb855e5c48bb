"""How models are loaded: what others would say meanwhile and nobody can use."""

import logging

from tunelab.models.bitsandbytes_import import import_bitsandbytes


def test_a_kernel_that_is_not_used_here_is_not_missed(caplog):
    import_bitsandbytes()
    with caplog.at_level("WARNING"):
        logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load CPU gemm_4bit_forward")
    assert not caplog.records
