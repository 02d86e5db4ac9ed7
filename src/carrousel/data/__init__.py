"""What reads a table: the frame as it comes, the columns' roles, the regular grid, public sets."""
