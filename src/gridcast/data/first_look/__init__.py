"""A first look at an unknown table: what `gridcast new` finds in it, and the experiment that follows."""
