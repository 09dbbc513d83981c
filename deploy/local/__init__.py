"""The whole of Collegium on one machine, on real parts: `make demo` and the end-to-end test."""
