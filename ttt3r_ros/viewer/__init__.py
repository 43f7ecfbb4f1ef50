"""A run in 3D in a browser, drawn with viser: live (`LivePage`), or as a file that needs no server (`write_page`)."""
