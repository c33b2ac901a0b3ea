"""The only compiled code: Numba kernels behind the denoiser, without any validation.

Kernels take contiguous float64 arrays that their callers have checked.
`dense` is imported (and Numba with it) when a denoiser is first evaluated, not
with the package.
"""
