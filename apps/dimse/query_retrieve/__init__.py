"""The Query/Retrieve service class as SCP (PS3.4 annex C): C-FIND, C-MOVE and C-GET."""
