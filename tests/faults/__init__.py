"""Faults: crashes, hangs, slow peers, full disks and hostile clients against the real stack, and what must hold.

Tests marked ``long``, here and elsewhere, run in ``make faults`` only; the others are part of ``make test`` as well.
"""
