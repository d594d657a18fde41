"""The CUDA kernels' host side: compiling (`build`), launching (`launch`, `device`) and the operations (`ops`)."""
