"""The formulas by which Aurora DSQL bills, as on its page "How billing works". They are public and exact.

What they leave open is how many bytes a row has there. Everywhere here a value has the bytes that PostgreSQL stores.
"""

DPU_PER_BYTE_WRITTEN = 0.00004883
LEAST_BYTES_WRITTEN = 1024
"""Bytes that a transaction is billed for at least, if it writes."""
LEAST_WRITE_DPU = 0.05

DPU_PER_BYTE_READ = 0.00000183105
LEAST_BYTES_READ = 2048
LEAST_READ_DPU = 0.00375

LEAST_BYTES = 128
"""Bytes that a row or an index entry is billed for at least."""


def write_dpu(size: float) -> float:
    """WriteDPU of one transaction that writes so many bytes, in one Region. A second Region costs as much again."""
    return max(max(size, LEAST_BYTES_WRITTEN) * DPU_PER_BYTE_WRITTEN, LEAST_WRITE_DPU)


def read_dpu(size: float) -> float:
    """ReadDPU of one transaction that reads so many bytes."""
    return max(max(size, LEAST_BYTES_READ) * DPU_PER_BYTE_READ, LEAST_READ_DPU)


def billed(size: float) -> float:
    """The bytes that a row or an index entry of a size is billed for."""
    return max(size, LEAST_BYTES)
