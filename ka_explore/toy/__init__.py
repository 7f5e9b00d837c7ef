"""Toy problems: real images, no download, and teachers that train in seconds on a CPU and are kept.

Every problem has teachers that know different things, a pool of images of all classes, and a small plain student. Only
`pretrained` is larger: its nets start from ImageNet weights, and its teachers take a minute and a half.
A problem is a function of its arguments: the same arguments give the same images and, on one machine and one
version of torch, the same weights bit for bit. Every problem takes these, and says which numbers it has and takes.

Args:
    seed: of the choice of images and their split, of the wrong labels and of the teachers' training.
    unlabelled: images in the pool.
    labelled: training images a teacher; shared with the pool only when it takes too many.
    label_noise: the share of these, 0 to 1, whose label is replaced by another class of the same teacher, drawn
        uniformly.
    validation: to choose settings without the test images, which are then used for nothing: mark on others, a third of
        those that are left (at most as many as the test has), and make teachers and pool of the rest.

Raises:
    InputError: for a number out of range.
"""

from collections.abc import Callable

from ka_explore.problem.problem import Problem
from ka_explore.toy.broken import Answer as Answer
from ka_explore.toy.broken import broken as broken
from ka_explore.toy.broken import broken_answer as broken_answer
from ka_explore.toy.drawing import sprite_images as sprite_images
from ka_explore.toy.efficientnet import efficientnet_lite0 as efficientnet_lite0
from ka_explore.toy.efficientnet import imagenet_net as imagenet_net
from ka_explore.toy.efficientnet import imagenet_student as imagenet_student
from ka_explore.toy.multitask import sprites as sprites
from ka_explore.toy.nets import plain_net as plain_net
from ka_explore.toy.nets import residual_net as residual_net
from ka_explore.toy.nets import student as student
from ka_explore.toy.pictures import CLOTHES as CLOTHES
from ka_explore.toy.pictures import DIGITS as DIGITS
from ka_explore.toy.pictures import Pictures as Pictures
from ka_explore.toy.pictures import fashion_folder as fashion_folder
from ka_explore.toy.pictures import fashion_pictures as fashion_pictures
from ka_explore.toy.pictures import find_idx as find_idx
from ka_explore.toy.pictures import join as join
from ka_explore.toy.pictures import mnist_pictures as mnist_pictures
from ka_explore.toy.pictures import read_idx as read_idx
from ka_explore.toy.pictures import sklearn_pictures as sklearn_pictures
from ka_explore.toy.pictures import with_wrong_labels as with_wrong_labels
from ka_explore.toy.problems import OTHER_CLOTHES as OTHER_CLOTHES
from ka_explore.toy.problems import PRESETS as PRESETS
from ka_explore.toy.problems import TOPS as TOPS
from ka_explore.toy.problems import digits as digits
from ka_explore.toy.problems import digits_and_clothes as digits_and_clothes
from ka_explore.toy.problems import fashion as fashion
from ka_explore.toy.problems import four_teachers as four_teachers
from ka_explore.toy.problems import mnist as mnist
from ka_explore.toy.problems import pretrained as pretrained
from ka_explore.toy.shared import shared_digits as shared_digits
from ka_explore.toy.teaching import Recipe as Recipe
from ka_explore.toy.teaching import one_thread as one_thread
from ka_explore.toy.teaching import teach as teach
from ka_explore.toy.teaching import train as train

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "mnist": mnist,
    "digits": digits,
    "fashion": fashion,
    "pretrained": pretrained,
    "digits_and_clothes": digits_and_clothes,
    "four_teachers": four_teachers,
    "shared_digits": shared_digits,
    "sprites": sprites,
}
