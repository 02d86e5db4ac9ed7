"""Statistics of many live streams at once: N streams of K variables, updated row by row, strictly causal.

Every component is an ``Online`` (``carrousel.online.state``): its memory is a few arrays whose first dimension is N, a
row of them belongs to one stream and depends on no other, and an update costs the same whatever came before.
"""
