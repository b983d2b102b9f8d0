"""Kernels and programs that somebody else wrote: built, checked and measured inside units only."""
