"""Before a study starts: the memory that its runs will take, and what makes them fit."""
