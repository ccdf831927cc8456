"""What a fit does, stage by stage: settings and a data set become what `runs` keeps."""
