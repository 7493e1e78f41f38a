"""Write a prompt for every image: captioning models, endpoints, fixed text or text files, into text files or a table."""
