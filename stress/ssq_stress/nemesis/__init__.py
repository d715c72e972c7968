"""What strikes? One file a fault."""
