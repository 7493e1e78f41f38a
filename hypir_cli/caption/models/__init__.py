"""Prompts for images: fixed text, sidecar files, local vision-language models, or an endpoint.

`registry.build_captioner` makes one from settings; all answer through `base.Captioner`.
"""
