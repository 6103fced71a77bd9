"""The comparative study: what a function costs in each sandbox and mode on this machine, and which to use.

A study is a :mod:`~limes.study.plan` of cells, run by the :mod:`~limes.study.runner`, kept in a
:mod:`~limes.study.journal`, reduced to a :mod:`~limes.study.summary` and shown as a
:mod:`~limes.study.report`.
"""
