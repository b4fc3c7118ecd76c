"""The pure core, one file of tables per module, and properties over random stories."""
