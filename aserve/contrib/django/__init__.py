"""Django's `runserver` with aserve.

Put `"aserve.contrib.django"` first into INSTALLED_APPS: of two apps that have a command of the
same name, Django takes the first one's.
"""
