"""aserve behind the commands of other people's frameworks: `flask aserve`, Django's `runserver`.

Each module needs its framework, which aserve does not install, and is loaded by it only.
"""
