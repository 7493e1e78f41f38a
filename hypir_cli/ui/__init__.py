"""`hypir ui`: the restorer in a local page, over the same engine, folder run and settings as the command line.

`layout` makes the parts of the page (Gradio), `page` says what they do, `controls` translates between them and settings, `desk` holds
what one browser works on, `worker` does one piece of work after the other, `server` serves page, pictures and downloads behind `guard`
(who may ask) and `uploads` (for which files).
"""
