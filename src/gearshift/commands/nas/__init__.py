"""Commands that search and train nets of mixed operations (NAS-BERT), one file each."""
