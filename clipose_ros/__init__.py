from pkgutil import extend_path

# `clipose_ros.msg` comes from the colcon install, the modules from a checkout, a pip install or the same colcon
# install.
__path__ = extend_path(__path__, __name__)
