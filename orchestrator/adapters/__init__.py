"""One folder per outside thing; each implements ports that the domain declares."""
