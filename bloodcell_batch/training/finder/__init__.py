"""How the finder is trained and measured: fields with boxes in, a model file or figures out."""
