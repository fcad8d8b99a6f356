"""Frames of videos: SER, AVI and MP4, cubes, and folders of images."""
