# Passed as CMAKE_PROJECT_INCLUDE when ROS comes from PyPI wheels; not needed on a ROS install. The *__rosidl_generator_py targets export the Python
# and NumPy include folders: in the wheels those of the machine that built them, which CMake refuses because they do not exist, and in our own
# package those of .venv, which CMake refuses because they lie inside the source folder. Nothing includes through these targets.
function(clear_wheel_include_paths)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  list(FILTER targets INCLUDE REGEX "__rosidl_generator_py$")
  foreach(target IN LISTS targets ITEMS ${PROJECT_NAME}__rosidl_generator_py)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "")
  endforeach()
endfunction()

# The targets appear with the find_package calls that follow project().
cmake_language(DEFER CALL clear_wheel_include_paths)
