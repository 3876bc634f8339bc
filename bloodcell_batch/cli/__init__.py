"""What a person types and sees; the only home of Typer and Rich."""
