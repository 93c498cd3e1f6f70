"""One stylesheet and one set of elements for every page of aserve."""
