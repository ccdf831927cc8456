"""What a run shows people: tables for the terminal, a page for the browser."""
