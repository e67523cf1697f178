"""The same scores where every pixel has a class: one number an image.

lookahead     IWPS of images, on the last layer of a segmentation network
kernel        IWPS-app of images there, and the gradients it needs
maps          uncertainties of pixels, reduced to one score an image
reductions    from the pixels of an image to one number
head          that layer: its maps, checks and gradient, shared by the above
checks        refusals of masks and labels of pixels
upsampling    bilinear enlargement between a head's maps and the labels
"""
