"""`hypir ui`: the restorer in a local page, over the same engine, folder run and settings as the command line.

`page` lays the page out (Gradio), `controls` translates between it and settings, `desk` holds what one browser works on, `worker`
does one piece of work after the other, `server` serves page, pictures and downloads behind `guard`.
"""
